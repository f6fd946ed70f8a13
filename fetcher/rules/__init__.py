"""Decisions without input or output: what may be asked, what an answer means, what goes on."""
