"""People, whom a sign-in provider knows: who they are, and what their groups there allow them here."""
