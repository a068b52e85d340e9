"""The device that torch uses: choose it, try it, set up its allocator."""
