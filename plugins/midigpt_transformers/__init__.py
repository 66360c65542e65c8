"""Library of the bundled architectures: what models of transformers need to read packed documents."""
