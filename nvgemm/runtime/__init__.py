"""From a kernel's name and constants to a launch on a stream: build, cache, load, tensor maps, memory."""
