"""Takes over the positions that were open before DTMS was (R32): what is there, what is known of it, what happens."""
