"""XML as a tree whose elements know their lines; what an attacker could put into it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from pipeline.errors import DataError

LINE = "line"
"""The attribute in which an element's line (from 1) is kept; it replaces one of that name in the file."""


def read_xml(file: Path) -> Element:
    """The root element. Entities are refused: nested, a few lines of them expand to gigabytes ("billion laughs").

    Raises:
        DataError: naming file and line: it is missing, not XML, or declares entities.
    """
    parser, builder = expat.ParserCreate(), TreeBuilder()

    def start(tag: str, attributes: dict[str, str]) -> None:
        builder.start(tag, {**attributes, LINE: str(parser.CurrentLineNumber)})

    def refuse(*_: Any) -> None:
        raise DataError(f"{file}:{parser.CurrentLineNumber}: it declares entities, which are refused. Remove them.")

    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(file.read_bytes(), True)
    except expat.ExpatError as error:
        raise DataError(f"{file}:{error.lineno}: not XML: {expat.ErrorString(error.code)}.") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from error
    return builder.close()


def place(file: Path, element: Element) -> str:
    """`file:line` of an element."""
    return f"{file}:{element.get(LINE)}"
