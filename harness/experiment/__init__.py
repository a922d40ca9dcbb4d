"""What is run: from a request to jobs, the jobs of a session, and their rows."""
