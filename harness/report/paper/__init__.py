"""Tables for papers: columns, cells and notes, and one renderer a format."""
