"""What is made of a transcript besides the transcript: translations, and findings of a language model.

It knows nothing of jobs' states, HTTP callers or files.
"""

from stream_server.text.ability import TextAbilities, text_abilities
from stream_server.text.service import TextServices, load_text_services

__all__ = ["TextAbilities", "TextServices", "load_text_services", "text_abilities"]
