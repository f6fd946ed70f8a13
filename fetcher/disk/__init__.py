"""What stands on disk: unfinished files and their journals, and the memory of finished ones."""
