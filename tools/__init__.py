"""Tools that build and check the repository itself. No lesson and no model imports them."""
