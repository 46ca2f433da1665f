"""The explorer for researchers: what a folder of runs holds, to look at; nothing is computed that no command makes."""
