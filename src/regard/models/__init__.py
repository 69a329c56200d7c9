"""What is explained: classifiers, and how to read and run them."""
