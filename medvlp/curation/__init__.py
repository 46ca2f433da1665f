"""Which records of a raw pool are worth training on; a component's name is its file, `medvlp data curate` runs one."""
