"""The chat template in Jinja: what `transformers` makes of a conversation has exactly the ids that training used."""

CHAT_TEMPLATE = """\
{%- macro said(content) -%}
{%- if content is string -%}{{- content -}}
{%- else -%}
{%- for part in content -%}
{%- if part.type == 'python' -%}{{- '<|python_start|>' + part.text + '<|python_end|>' -}}
{%- elif part.type == 'python_output' -%}{{- '<|output_start|>' + part.text + '<|output_end|>' -}}
{%- else -%}{{- part.text -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{{- '<|bos|>' -}}
{%- set turns = messages -%}
{%- set first = '' -%}
{%- if messages and messages[0].role == 'system' -%}
{%- set turns = messages[1:] -%}
{%- set first = said(messages[0].content) + '\\n\\n' -%}
{%- endif -%}
{%- for message in turns -%}
{%- if message.role != ('user' if loop.index0 % 2 == 0 else 'assistant') -%}
{{- raise_exception('user and assistant must take turns, the user first, after at most one system message') -}}
{%- endif -%}
{{- '<|' + message.role + '_start|>' + (first if loop.first else '') + said(message.content) -}}
{{- '<|' + message.role + '_end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant_start|>' -}}{%- endif -%}
"""
