"""What the distribution's packages install: the data of dpkg and rpm."""
