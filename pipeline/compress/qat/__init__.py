"""Fake quantization where TFLite's int8 kernels round, for every layer of Convoy.

simplify  a network -> the same in layers that int8 has one operator for
configs   layer class -> how it is quantized
layout    a network -> the same with fake quantization
ranges    what calibration pictures say about each range
check     the table of all that, before any training

Importing these modules loads TensorFlow and tensorflow-model-optimization: do it inside functions.
"""
