"""How cria, the model in the box, is made: conversations, a tokenizer, a small Llama, a GGUF file."""
