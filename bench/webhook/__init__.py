"""How fast events are answered, and whether any is lost."""
