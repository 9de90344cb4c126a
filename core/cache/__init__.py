"""What Redis is asked, and never believed further than it can be checked."""
