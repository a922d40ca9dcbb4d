"""From a trained GPT to a file that a runtime loads: a file a format, and the form of the network that all share."""
