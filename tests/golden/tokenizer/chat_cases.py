"""Conversations for the templates in templates/, and small templates that pin down what each construct means."""

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather of a place; it's \"fresh\" & <exact>.",
            "parameters": {
                "type": "object",
                "properties": {
                    "location": {"type": "string", "description": "City, e.g. Zürich"},
                    "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "description": "Unit"},
                    "days": {"type": "array", "items": {"type": "integer"}, "description": "Days"},
                },
                "required": ["location"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Sum",
            "parameters": {
                "type": "object",
                "properties": {
                    "b": {"type": ["number", "null"], "description": "second"},
                    "a": {"type": "number", "description": "first", "minimum": 0.5},
                    "opts": {"type": "object", "additionalProperties": {"type": "boolean"}, "description": "map"},
                },
                "required": ["a", "b"],
            },
        },
    },
]

SYSTEM = {"role": "system", "content": "  You are terse. /no_think "}
HELLO = {"role": "user", "content": "Hello, wie geht's? 你好 😀"}
ANSWER = {"role": "assistant", "content": "\n<think>\nHm, <b>.\n</think>\n\nFine & well.\n"}
AGAIN = {"role": "user", "content": "  line one\n\n  line two\t\n"}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "abcdefghi",
            "type": "function",
            "function": {"name": "get_weather", "arguments": {"location": "Zürich", "days": [1, 2], "exact": True, "x": None}},
        }
    ],
}
TWO_CALLS = {
    "role": "assistant",
    "content": "Let me see.",
    "thinking": "which tool?",
    "tool_calls": [
        {"id": "abcdefghi", "type": "function", "function": {"name": "get_weather", "arguments": {"location": "Bern"}}},
        {"id": "jklmnopqr", "type": "function", "function": {"name": "add", "arguments": {"a": 1.5, "b": -2e-7}}},
    ],
}
RESULT = {"role": "tool", "content": '{"temperature": 21.5}', "tool_call_id": "abcdefghi", "name": "get_weather"}
RESULT_2 = {"role": "tool", "content": "3", "tool_call_id": "jklmnopqr"}
PICTURE = {
    "role": "user",
    "content": [{"type": "image", "url": "a.png"}, {"type": "text", "text": " What is this? "}],
}

CONVERSATIONS = {
    "user": {"messages": [HELLO], "add_generation_prompt": True},
    "turns": {"messages": [HELLO, ANSWER, AGAIN, {"role": "assistant", "content": "Bye."}]},
    "system": {"messages": [SYSTEM, HELLO, ANSWER, AGAIN], "add_generation_prompt": True},
    "tools": {"messages": [SYSTEM, HELLO], "tools": TOOLS, "add_generation_prompt": True},
    "call": {"messages": [HELLO, CALL, RESULT, {"role": "assistant", "content": "21.5"}], "tools": TOOLS},
    "calls": {"messages": [HELLO, TWO_CALLS, RESULT, RESULT_2], "tools": TOOLS, "add_generation_prompt": True},
    "calls_no_tools": {"messages": [SYSTEM, HELLO, CALL, RESULT], "add_generation_prompt": True},
    "options": {
        "messages": [HELLO, ANSWER, AGAIN],
        "add_generation_prompt": True,
        "enable_thinking": False,
        "tools_in_user_message": False,
        "date_string": "1 Apr 2025",
        "builtin_tools": ["code_interpreter", "search"],
        "documents": [{"doc_id": 7, "text": "Seven."}, {"title": "t", "text": "Eight."}],
        "controls": {"length": "short"},
        "add_vision_id": True,
    },
    "wrong_order": {"messages": [ANSWER, HELLO]},
    "null_content": {"messages": [HELLO, {"role": "assistant", "content": None, "reasoning": "r"}, AGAIN]},
    "picture": {"messages": [PICTURE], "add_generation_prompt": True, "add_vision_id": True},
    "odd_roles": {"messages": [{"role": "note", "content": "n"}, HELLO, {"role": "developer", "content": "d"}, AGAIN]},
}

# Templates over VARIABLES; what jinja2 raises is recorded as an error.
VARIABLES = {
    "n": 7,
    "x": 2.5,
    "s": "Hello World",
    "u": "Straße ǅ ΑΣ ΑΣΑ ﬁ ÉÈ",
    "t": True,
    "f": False,
    "nil": None,
    "empty": [],
    "words": ["beta", "Alpha", "gamma", "alpha"],
    "nums": [3, 1, 2, 10],
    "mixed": [1, "a", None, 2.0, [1, 2], {"k": "v"}],
    "d": {"b": 1, "a": [1, {"c": None}], "items": "shadow", "é": "\u00e9\n\t\"\\/<>&'"},
    "people": [
        {"name": "Ann", "age": 31, "tags": ["x"], "job": {"title": "dev"}},
        {"name": "bob", "age": 27, "tags": []},
        {"name": "Cid", "age": 31, "tags": ["y", "z"], "job": {"title": "ops"}},
    ],
    "text": "one\n  two\n\nthree\n",
    "spaces": " \t a  b \n c \u00a0",
}

SNIPPETS = [
    # output and undefined
    "{{ n }} {{ x }} {{ s }} {{ t }} {{ f }} {{ nil }} {{ empty }} {{ mixed }} {{ d }}",
    "[{{ missing }}]{{ missing is defined }}{{ missing | default('dflt') }}{{ nil | default('d') }}{{ nil | default('d', true) }}",
    "{{ missing.attribute }}", "{{ missing['key'] }}", "{{ missing + 1 }}", "{{ 1 + missing }}", "{{ missing() }}",
    "{{ d.nothing }}|{{ d.nothing is undefined }}|{{ d['nothing'] }}", "{{ d.nothing.deeper }}", "{{ nil.x }}", "{{ nil['x'] }}|{{ n[0] }}|{{ n.foo }}",
    "{% for i in missing %}x{% else %}none{% endfor %}{{ missing | length }}{{ missing | list }}{{ missing ~ 'a' }}",
    "{{ missing == missing2 }}{{ missing == none }}{{ not missing }}{{ missing in [1] }}{{ 1 in missing }}", "{{ 'a' in missing }}{{ missing in 'abc' }}",
    "{{ missing < 1 }}", "{{ missing | upper }}|{{ missing | trim }}|{{ missing | join(',') }}|{{ missing | string }}", "{{ missing | tojson }}", "{{ missing | int }}", "{{ -missing }}",
    "{{ 'yes' if missing }}|{{ ('yes' if false) is undefined }}|{{ none if true }}",
    # numbers
    "{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2.5 ** 2 }}",
    "{{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 1 - 2 - 3 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ +3 }} {{ --3 }} {{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }}",
    "{{ 0.1 + 0.2 }} {{ 1e16 }} {{ 1e15 }} {{ 1.5e-5 }} {{ 0.0001 }} {{ 123456789.125 }} {{ 1e100 }} {{ -0.0 }} {{ 3.0 }} {{ 5e-324 }}",
    "{{ 1 / 0 }}", "{{ 1 // 0 }}", "{{ 1.0 % 0 }}", "{{ 1_000 }} {{ 0 }} {{ 10.25 }}", "{{ true + 1 }} {{ true and 5 }} {{ 0 or 'x' }} {{ not 0 }} {{ not not 3 }}",
    "{{ 1 + 'a' }}", "{{ 'a' + 1 }}", "{{ [1] + [2] }} {{ (1,) + (2,) }}", "{{ [1] + (2,) }}", "{{ 'ab' * 3 }} {{ [0] * 3 }} {{ 3 * 'x' }} {{ 'x' * -1 }}", "{{ 'a' - 'b' }}", "{{ 1 < 'a' }}",
    "{{ 1 == 1.0 }} {{ true == 1 }} {{ '1' == 1 }} {{ none == false }} {{ [1, 2] == [1, 2] }} {{ (1, 2) == [1, 2] }} {{ {'a': 1} == {'a': 1.0} }}",
    "{{ 1 < 2 < 3 }} {{ 3 > 2 > 2 }} {{ 1 <= 1 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 2 >= 2.0 }} {{ 1 != 2 }} {{ 1 < 3 > 2 == 2 }}",
    # strings
    "{{ 'a' 'b' \"c\" }} {{ 'it\\'s' }} {{ \"q\\\"q\" }} {{ 'tab\\tnl\\nbs\\\\' }} {{ '\\x41\\u00e9\\U0001F600' }} {{ 'a\\zb' }} {{ '\\101' }}",
    "{{ s[0] }}{{ s[-1] }}{{ s[1:4] }}{{ s[:5] }}{{ s[6:] }}{{ s[::-1] }}{{ s[::2] }}{{ s[-3:-1] }}{{ s[20:] }}{{ s[5:1] }}{{ s[9:2:-3] }}|{{ s[100] }}|",
    "{{ u[0:6] }} {{ u[5] }} {{ u[::-1] }} {{ u | length }} {{ u | upper }} {{ u | lower }} {{ u | title }} {{ u | capitalize }}",
    "{{ u.upper() }} {{ u.lower() }} {{ u.title() }} {{ u.capitalize() }} {{ \"they're bill's o'neil\".title() }} {{ \"they're bill's (o-neil) [x\" | title }}",
    "{{ s.split() }} {{ s.split('o') }} {{ s.split('o', 1) }} {{ s.rsplit('o', 1) }} {{ 'a,,b,'.split(',') }} {{ ''.split() }} {{ ''.split(',') }}", "{{ 'abc'.split('') }}",
    "{{ spaces.split() }} {{ spaces.split(none, 1) }} {{ spaces.rsplit(none, 1) }} {{ spaces.split(' ') }} {{ spaces.split(maxsplit=1) }}",
    "[{{ spaces.strip() }}][{{ spaces.lstrip() }}][{{ spaces.rstrip() }}][{{ 'xxhixx'.strip('x') }}][{{ 'abcba'.lstrip('ab') }}][{{ spaces | trim }}][{{ '--a--' | trim('-') }}]",
    "{{ s.startswith('He') }} {{ s.startswith(('x', 'H')) }} {{ s.endswith('ld') }} {{ s.endswith('') }} {{ s.startswith('World', 6) }} {{ s.endswith('Hello', 0, 5) }}", "{{ s.startswith(1) }}",
    "{{ s.find('o') }} {{ s.find('z') }} {{ s.rfind('o') }} {{ s.find('o', 5) }} {{ s.index('W') }} {{ s.count('l') }} {{ s.count('') }} {{ u.find('Σ') }}", "{{ s.index('z') }}",
    "{{ s.replace('l', 'L') }} {{ s.replace('l', 'L', 1) }} {{ s.replace('', '-') }} {{ s.replace('Hello ', '') }} {{ s | replace('o', '0') }} {{ s | replace('o', '0', 1) }} {{ n | replace('7', 'seven') }}",
    "{{ ', '.join(words) }} {{ ''.join([]) }} {{ '-'.join('abc') }}", "{{ ','.join([1, 2]) }}", "{{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('=') }}",
    "{{ 'abc'.removeprefix('a') }}{{ 'abc'.removesuffix('c') }}{{ 'abc'.removeprefix('x') }}|{{ '7'.zfill(3) }}|{{ '-7'.zfill(4) }}|{{ 'a'.center(4) }}|{{ 'a'.center(5, '*') }}|{{ 'ab'.ljust(4, '.') }}|{{ 'ab'.rjust(4) }}|",
    "{{ '12'.isdigit() }}{{ '²'.isdigit() }}{{ '²'.isdecimal() }}{{ '½'.isnumeric() }}{{ 'aé'.isalpha() }}{{ 'a1'.isalnum() }}{{ ''.isalpha() }}{{ ' \\t'.isspace() }}{{ 'AB'.isupper() }}{{ 'ab1'.islower() }}{{ 'é'.isascii() }}",
    "{{ text.splitlines() }} {{ text.splitlines(true) }} {{ 'a\\r\\nb\\rc'.splitlines() }}", "{{ 'a' ~ 1 ~ none ~ [1] ~ 2.0 }}", "{{ 'a' in 'abc' }} {{ '' in '' }} {{ 'x' not in 'abc' }}", "{{ 1 in 'abc' }}",
    "{{ '%s and %d' % ('a', 3) }} {{ '%.2f%%' % 2.345 }} {{ '%5s|%-5s|%05d' % ('a', 'b', 42) }} {{ '%x %X %o %e %g' % (255, 255, 8, 12345.678, 0.00001) }} {{ '%(k)s' % {'k': 'v'} }} {{ '%r' % 'q' }}",
    "{{ '%s %s' | format('a', 'b') }} {{ '%s' % none }} {{ '%s' % [1, 2] }} {{ '%+d % d' % (5, 6) }} {{ '%c' % 'x' }}", "{{ '%d' % 'a' }}", "{{ '%s' % (1, 2) }}", "{{ '%s %s' % 'a' }}",
    "{{ s.nothing }}|{{ s.upper is defined }}|{{ s['upper']() }}", "{{ s.nothing() }}", "{{ s() }}",
    # lists, dicts, tuples
    "{{ [1, 'a', [2]] }} {{ (1,) }} {{ () }} {{ (1, 2) }} {{ {'a': 1, 'b': [2]} }} {{ {1: 2, none: 3, true: 4} }} {{ [1, 2, ] }} {{ {'a': 1,} }}",
    "{{ nums[0] }} {{ nums[-1] }} {{ nums[1:3] }} {{ nums[::-1] }} {{ nums[7] is undefined }} {{ nums['a'] is undefined }} {{ nums[1.0] is undefined }} {{ nums[true] }}",
    "{{ d['b'] }} {{ d.b }} {{ d.items is callable }} {{ d['items'] }} {{ d.get('b') }} {{ d.get('zz') }} {{ d.get('zz', 5) }} {{ d.keys() | list }} {{ d.values() | length }}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }},{% endfor %}{% for k, v in d | items %}{{ loop.index }}{{ k }}{% endfor %}", "{{ people[0].job.title }} {{ people[1].job is defined }} {{ people[2]['job']['title'] }}",
    "{{ d | dictsort }} {{ {'b': 1, 'A': 2} | dictsort }} {{ {'b': 1, 'A': 2} | dictsort(true) }} {{ {'b': 1, 'a': 2} | dictsort(by='value', reverse=true) }}",
    "{{ 1 in nums }} {{ 'b' in d }} {{ 'zz' not in d }} {{ [1] in [[1]] }} {{ none in mixed }}", "{{ {[1]: 2} }}", "{{ [1] in d }}", "{{ nums.index(2) }} {{ nums.count(1) }}", "{{ nums.append(4) }}", "{{ d.pop('b') }}", "{{ d.update({}) }}",
    "{{ dict(a=1, b='x') }} {{ dict([('k', 1)]) }} {{ dict({'a': 1}, b=2) }} {{ range(3) | list }} {{ range(1, 10, 3) | list }} {{ range(3, 0, -1) | list }}", "{{ range(100001) | length }}", "{{ range('a') }}",
    # filters
    "{{ words | sort }} {{ words | sort(case_sensitive=true) }} {{ nums | sort(reverse=true) }} {{ people | sort(attribute='age') | map(attribute='name') | list }} {{ words | unique | list }}", "{{ mixed | sort }}",
    "{{ nums | first }} {{ nums | last }} {{ nums | min }} {{ nums | max }} {{ nums | sum }} {{ people | sum(attribute='age') }} {{ nums | length }} {{ nums | count }} {{ s | first }} {{ s | last }} {{ [] | first }}|{{ nums | reverse | list }} {{ s | reverse }}",
    "{{ people | map(attribute='name') | join(', ') }} {{ words | map('upper') | list }} {{ ['a-b'] | map('replace', '-', '+') | list }} {{ people | join('/', attribute='age') }}",
    "{{ people | selectattr('job') | map(attribute='name') | list }} {{ people | selectattr('age', '>', 30) | list | length }} {{ people | rejectattr('tags') | map(attribute='name') | first }} {{ people | selectattr('name', 'equalto', 'bob') | list | length }} {{ people | selectattr('job', 'defined') | list | length }}",
    "{{ nums | select('odd') | list }} {{ nums | reject('odd') | list }} {{ mixed | select | list }} {{ mixed | reject('none') | list | length }} {{ mixed | select('string') | list }} {{ words | select('in', ['beta']) | list }}",
    "{% if people | selectattr('age', 'equalto', 99) %}truthy{% else %}falsy{% endif %} {{ (people | map(attribute='age')) is iterable }} {{ (nums | map('string')) is sequence }}", "{{ people | map(attribute='age') | length }}", "{{ (nums | select)[0] is undefined }}",
    "{% set g = nums | select('odd') %}{{ g | list }}{{ g | list }}", "{{ nums | nofilter }}", "{{ nums is notest }}", "{% if false %}{{ 1 | nofilter }}{% endif %}ok",
    "{{ '3' | int }} {{ '3.9' | int }} {{ 'x' | int }} {{ 'x' | int(-1) }} {{ 3.9 | int }} {{ -3.9 | int }} {{ none | int }} {{ 'ff' | int(base=16) }} {{ '0xff' | int(0, 16) }} {{ ' 4 ' | int }} {{ true | int }} {{ '1_0' | int }}",
    "{{ '3' | float }} {{ '1e3' | float }} {{ 'x' | float }} {{ 'x' | float(1.5) }} {{ 7 | float }} {{ -5 | abs }} {{ 2.5 | abs }} {{ 2.567 | round(2) }} {{ 2.5 | round }} {{ 3.5 | round }} {{ 2.1 | round(0, 'ceil') }} {{ 2.9 | round(method='floor') }} {{ 7 | round }}",
    "{{ d | tojson }} {{ mixed | tojson }} {{ s | tojson }} {{ n | tojson }} {{ x | tojson }} {{ nil | tojson }} {{ t | tojson }} {{ (1, 2) | tojson }} {{ {1: 2, none: 3, true: 4, 1.5: 5} | tojson }}",
    "{{ d | tojson(indent=2) }} {{ mixed | tojson(indent=4) }} {{ [] | tojson(indent=2) }} {{ {} | tojson(indent=2) }} {{ [[], {}] | tojson(indent=1) }} {{ d | tojson(indent='--') }}",
    "{{ d | tojson(ensure_ascii=true) }} {{ '😀\\x7f\\u2028' | tojson(ensure_ascii=true) }} {{ '😀\\x7f\\u2028\\x01' | tojson }} {{ d | tojson(sort_keys=true) }} {{ d | tojson(separators=(',', ':')) }} {{ d | tojson(true, 2, (', ', '= '), true) }}",
    "{{ text | indent }}|{{ text | indent(2, true) }}|{{ text | indent(2, blank=true) }}|{{ text | indent('> ', true, true) }}|{{ '' | indent }}|{{ 'a' | indent(width=3, first=true) }}", "{{ words | string }} {{ 5 | string | length }} {{ nums | list }} {{ 'abc' | list }} {{ d | list }} {{ d | length }}",
    "{{ '<a>' | safe }} {{ '<a>' | escape }} {{ '<a>' | e }} {{ ('<a>' | safe) + '<b>' }} {{ '<b>' + ('<a>' | safe) }} {{ ('<a>' | safe) ~ '<b>' }} {{ '<a>' | safe | e }} {{ [('x' | safe)] }}", "{{ s | attr('upper') is callable }} {{ d | attr('b') is undefined }} {{ 'a b' | upper | lower | title }}",
    # tests
    "{{ n is number }} {{ x is number }} {{ t is number }} {{ s is number }} {{ n is integer }} {{ t is integer }} {{ x is float }} {{ s is string }} {{ d is mapping }} {{ s is mapping }} {{ nil is none }} {{ t is boolean }} {{ t is true }} {{ f is false }} {{ 1 is true }}",
    "{{ s is iterable }} {{ n is iterable }} {{ d is iterable }} {{ d is sequence }} {{ s is sequence }} {{ n is sequence }} {{ missing is iterable }} {{ missing is sequence }} {{ range is callable }} {{ nil is iterable }} {{ nums is not iterable }}",
    "{{ 4 is even }} {{ 4 is odd }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 1 is eq 1 }} {{ 1 is equalto(1) }} {{ 2 is gt 1 }} {{ 1 is lessthan 2 }} {{ 1 is ne 2 }} {{ 2 is in [1, 2] }} {{ 'a' is lower }} {{ 'A' is upper }} {{ nil is sameas none }} {{ 'upper' is filter }} {{ 'odd' is test }} {{ 1 is sameas true }}",
    "{{ n is not none and n is defined }} {{ not n is none }} {{ 1 if n is odd else 2 }} {{ n is odd or false }}", "{{ n is defined is true }}", "{{ 'a' is odd }}", "{{ n is divisibleby 0 }}",
    # statements
    "{% if n > 5 %}big{% elif n > 2 %}mid{% else %}small{% endif %}{% if nil %}{% elif t %}t{% endif %}{% if empty %}x{% endif %}",
    "{% for i in nums %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.depth }};{% endfor %}",
    "{% for i in nums if i > 1 %}{{ loop.index }}/{{ loop.length }}:{{ i }}{% if not loop.last %},{% endif %}{% else %}none{% endfor %}{% for i in nums if i > 100 %}x{% else %}none{% endfor %}",
    "{% set ns = namespace(stop=false) %}{% for i in nums if not ns.stop %}{{ i }}{% if i == 1 %}{% set ns.stop = true %}{% endif %}{% endfor %}", "{% set ns = namespace(stop=false) %}{% for i in nums if not ns.stop %}{{ i }}{{ loop.last }}{% if i == 1 %}{% set ns.stop = true %}{% endif %}{% endfor %}",
    "{% for a, b in [(1, 2), [3, 4], 'xy'] %}{{ a }}-{{ b }};{% endfor %}{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}", "{% for a, b in [1] %}{{ a }}{% endfor %}", "{% for c in 'aé😀' %}[{{ c }}]{% endfor %}", "{% for i in n %}{% endfor %}", "{% for i in nil %}{% endfor %}",
    "{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}{% for i in [1] %}{% break %}{% else %}else{% endfor %}{% for i in [1, 2] %}{% if i == 1 %}{% continue %}{% endif %}{% else %}else{% endfor %}",
    "{% for i in [1, 2] %}{% for j in [1, 2] %}{{ loop.index }}{{ i }}{{ j }}{% endfor %}{{ loop.index }}{% endfor %}{{ loop is defined }}{{ i is defined }}", "{% for i in nums %}{{ loop.cycle('a', 'b') }}{{ loop.changed(i > 1) }}{% endfor %}",
    "{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}{{ x }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c = 1, 2 %}{{ c }}{% set (e, g) = [3, 4] %}{{ e + g }}",
    "{% set ns = namespace(a=1, b=[]) %}{% for i in nums %}{% set ns.a = ns.a + i %}{% set ns.b = ns.b + [i] %}{% endfor %}{{ ns.a }} {{ ns.b }} {{ ns.zz is defined }} {{ ns['a'] }}", "{% set d.x = 1 %}", "{% set ns = namespace({'k': 1}, j=2) %}{{ ns.k + ns.j }}", "{% set ns = namespace(_x=1) %}",
    "{% set body %}a{{ n }}b{% for i in [1, 2] %}{{ i }}{% endfor %}{% endset %}[{{ body }}]{% set up | upper | trim %} abc {% endset %}[{{ up }}]{{ body is string }}",
    "{% macro m(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(1, c='y') }} {{ m() }} {{ m(b=5, a=4) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}", "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, k=3) }}", "{% macro m(n) %}{{ n }}{% if n > 0 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(3) }}", "{% macro m() %}{{ later }}{{ inner is defined }}{% endmacro %}{% set later = 5 %}{% for inner in [1] %}{{ m() }}{% endfor %}",
    "{% macro outer() %}{% set z = 1 %}{% macro inner() %}{{ z }}{% endmacro %}{{ inner() }}{% endmacro %}{{ outer() }}{{ z is defined }}", "{% macro m() %}  a  {% endmacro %}[{{ m() | trim }}]{{ m() ~ 'b' }}{{ (m() | length) }}", "{% macro list(name) %}{{ caller(name ~ '!') }}{% endmacro %}{% call(x) list('q') %}<{{ x }}{{ n }}>{% endcall %}", "{% macro m() %}{{ caller() if caller is defined else 'no' }}{% endmacro %}{{ m() }}{% call m() %}c{% endcall %}",
    "{% macro m() %}x{% endmacro %}{% call m() %}c{% endcall %}", "{% with a = 1, b = 2 %}{{ a + b }}{% set a = 5 %}{{ a }}{% endwith %}{{ a is defined }}", "{% filter upper %}abc{{ n }}{% endfilter %}{% filter replace('a', 'b') | upper %}a{% endfilter %}", "{{ 1, 2 }}", "{{ m(*[1, 2]) if false else 3 }}{% macro f(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ f(*[1, 2]) }}{{ f(**{'a': 1, 'b': 3}) }}",
    "{{ raise_exception('no: ' ~ n) }}", "{{ strftime_now('%Y-%m-%d %H:%M:%S %d %B %b %A %a %j %y %p %I %% %f') }}", "{% generation %}a{% set q = 1 %}{% endgeneration %}{{ q is defined }}",
    # white space
    "  {% if true %}  \n  a  \n  {% endif %}  \nb", "a\n  {% set x = 1 %}\n  b {% set y = 2 %}\nc", "a \n {%- if true -%} \n b \n {%- endif -%} \n c", "{{ 1 -}}  \n  {{- 2 }} x {{ 3 }}\n", "a\n\n", "a\n", "\n\na", "{# c #}\nx{#- d -#}\n y\n  {# e #}\n z", "a {%+ if true %} b {%+ endif %}\n c", "  {%+ if true +%}\nx\n  {% endif +%}\ny", "{% raw %}\n {{ x }} {% if %}\n{% endraw %}\nz", "a {%- raw -%}  {{ q }}  {%- endraw -%}  b", "{% if true %}\n\n  x\n{% endif %}\n\n\n{% if true %}y{% endif %}", "\t{% if true %}\tx\n\t{%- endif %}", "a\r\n{% if true %}\r\nb\r\n{% endif %}\r\nc\r\n", "x{% if true %}{% endif %}   \n  y", "{#-\n c\n#}x  {{- 1 -}}  y", "{{ {'a': {'b': 1}} }}{{ {'a': {}}.a }}", "{{ '}}' }}{{ \"%}\" }}{{ '{{' }}", "{{ [1,2][0] }}{{ (1 if false else [3])[0] }}{{ {'k': [5]}['k'][0] }}{{ words[0].upper()[1:] }}{{ 'a.b'.split('.')[1] }}{{ nums.0 }}",
    # syntax errors
    "{{ 1 + }}", "{% if %}x{% endif %}", "{% if true %}x", "{% endif %}", "{{ x", "{% for x nums %}{% endfor %}", "{{ 'abc }}", "{% unknown %}", "{{ (1 }}", "{{ [1 }}", "{# open", "{% macro 1() %}{% endmacro %}", "{{ a b }}", "{% set %}", "{{ }}", "{% break %}", "{{ 1 is }}", "{{ x | }}", "{% if a %}{% else %}{% else %}{% endif %}", "{{ x is odd is even }}", "{{ @ }}",
    # precedence
    "{{ 1 + 2 ~ 3 }}", "{{ 'a' ~ 1 + 2 }}",
    "{{ '1' + 2 ~ 3 }} {{ 'a' ~ 1 ~ 2 * 3 }} {{ 2 * 3 ~ 4 }} {{ not true and false }} {{ true or false and false }} {{ 1 == 1 and 2 == 2 }} {{ not 1 == 2 }} {{ 1 in [1] and 2 not in [1] }} {{ -1 | abs }} {{ -nums[0] }} {{ 'a' + 'b' | upper }} {{ ('a' + 'b') | upper }} {{ 1 if true else 2 if true else 3 }} {{ (1 if false else 2) + 1 }} {{ '2' + 3 | string ~ 'x' }}",
]
