"""Real servers on loopback, which tests may make lie, break and stall."""
