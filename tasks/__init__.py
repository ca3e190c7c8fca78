"""How each step is done. One package a stage; a stage knows no other stage."""
