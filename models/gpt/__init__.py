"""The reference GPT: its dimensions, and the network that trains."""
