"""The artifact that is deployed: built for one Python, on whatever machine."""
