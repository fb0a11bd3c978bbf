"""What all services of Hayabin agree on."""
