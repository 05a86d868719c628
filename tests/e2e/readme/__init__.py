"""What a document says, taken at its word: fenced blocks are run, inline claims are looked up."""
