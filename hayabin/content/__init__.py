"""Templates: from what people write to what the renderer fills in for each recipient.

``compile`` turns MJML, HTML or text into a ``CompiledTemplate`` once; ``render`` fills it in, many times.
"""
