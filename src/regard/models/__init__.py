"""What is explained: classifiers, and how to read and run them."""

from regard.models.high_resolution import high_resolution as high_resolution
