"""The codes that do the physics: kinds of tools, and what runs them safely."""
