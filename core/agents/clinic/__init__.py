"""The shipped example: the front desk of a small clinic. Take it out when you have agents of your own."""
