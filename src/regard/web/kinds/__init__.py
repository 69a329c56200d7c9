"""What can be asked for: one kind of job a file, with what it costs and what it gives."""
