"""What schemathesis cannot know of our calls."""

import schemathesis
from hypothesis import strategies as st
