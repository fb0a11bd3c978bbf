"""Pure rules of Hayabin: standard library only (and ``idna``), no I/O, the clock is passed in."""
