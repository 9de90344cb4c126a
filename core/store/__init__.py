"""All the SQL there is. Every write after the claim names the epoch that it was granted under."""
