"""What all-MiniLM-L6-v2's goldens are of: texts of many kinds and lengths."""

from __future__ import annotations

TEXTS = (
    "Hello",
    "The llama grazes on the high plateau.",
    "A camelid eats grass in the mountains.",
    "How do I reset my password?",
    "To change a forgotten password, open the settings and choose 'Security'.",
    "SELECT name FROM users WHERE id = 42;",
    "def mean(xs):\n    return sum(xs) / len(xs)",
    "Caf\u00e9, na\u00efve, \u00fcber: accents; 100% & more!",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u9ad8\u539f\u4e0a\u7684\u7f8a\u9a7c\u3002",
    "\U0001f999 emoji and unknown \u16a0\u16c7\u16bb runes",
    "supercalifragilisticexpialidocious " * 12,
    "The quick brown fox jumps over the lazy dog. " * 20,
    "A long text that is cut: every sentence of it says the same, and none says anything. " * 40,
)
