"""Programs on the library that speak the protocol of another system."""
