"""Everything that exists only because of TASO: its rules, its package, its published counts."""
