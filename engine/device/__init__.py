"""The device that torch uses: chosen, tried, its allocator set up."""
