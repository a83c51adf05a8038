"""Scenes: pictures of handwritten digits whose every answer is known. `render.scene` makes one, `motion.Sequence` many
that belong together; `pipeline.data.sources.scenes` gives them to everything else."""
