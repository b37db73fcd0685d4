"""report.py: the tables of a benchmark on the terminal, and as one HTML file that needs nothing beside it."""
import datetime
import html
import math
import os
import platform

# Okabe and Ito's colours, which people who see few colours tell apart too
COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9']

STYLE = '''
:root { color-scheme: light dark }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2.2rem }
p { opacity: .75 }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #8884 }
th:first-child, td:first-child { text-align: left; white-space: nowrap }
th { font-weight: 500; opacity: .75 }
svg { display: block; width: 100%; height: auto; margin: .6rem 0; fill: currentColor; font-size: 12px }
'''


def number(text):
    try:
        return float(text)
    except ValueError:
        return None


def text_at(x, y, text, anchor='start', extra=''):
    return '<text x="%.1f" y="%.1f" text-anchor="%s"%s>%s</text>' % (x, y, anchor, extra, html.escape(text))


def bars(head, rows, column):
    """One horizontal bar a row, as long as the number in that column."""
    values = [number(r[column]) for r in rows]
    longest = max((v for v in values if v), default=0)
    if not longest:
        return ''
    left, width, step = 150, 480, 24
    out = []
    for i, (row, v) in enumerate(zip(rows, values)):
        if v is None:
            continue
        y = 22 + i * step
        out.append(text_at(left - 8, y + 13, row[0], 'end'))
        out.append('<rect x="%d" y="%d" width="%.1f" height="17" rx="2" fill="%s"/>'
                   % (left, y, max(1, v / longest * width), COLOURS[0 if row[0].startswith('zl') else 1]))
        out.append(text_at(left + v / longest * width + 6, y + 13, row[column]))
    return '<svg viewBox="0 0 720 %d" role="img"><title>%s</title>%s%s</svg>' % (
        28 + len(rows) * step, html.escape(head[column]), text_at(left, 12, head[column]), ''.join(out))


def curves(caption, unit, series):
    """For each series the share of its values that is at most x; x on a logarithmic axis."""
    series = {name: sorted(v for v in values if v > 0) for name, values in series.items()}
    series = {name: values for name, values in series.items() if values}
    if not series:
        return ''
    low = math.floor(math.log10(min(v[0] for v in series.values())))
    high = max(low + 1, math.ceil(math.log10(max(v[-1] for v in series.values()))))
    left, top, width, height = 50, 26, 500, 220

    def at(value, share):
        return left + (math.log10(value) - low) / (high - low) * width, top + (1 - share) * height
    out = [text_at(left, 14, caption)]
    for power in range(low, high + 1):
        x, y = at(10 ** power, 0)
        out.append('<path d="M%.1f %dV%.1f" stroke="#8886" fill="none"/>' % (x, top, y))
        out.append(text_at(x, y + 16, '%g %s' % (10.0 ** power, unit), 'middle'))
    for share in 0, .5, .9, .99, 1:
        x, y = at(10 ** low, share)
        out.append('<path d="M%.1f %.1fh%d" stroke="#8883" fill="none"/>' % (x, y, width))
        if share != .99:
            out.append(text_at(x - 6, y + 4, '%d %%' % (share * 100), 'end'))
    for i, (name, values) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        path, share = 'M%.1f %.1f' % at(values[0], 0), 0
        for n, v in enumerate(values, 1):
            path += 'L%.1f %.1fL%.1f %.1f' % (*at(v, share), *at(v, n / len(values)))
            share = n / len(values)
        out.append('<path d="%s" stroke="%s" stroke-width="2" fill="none"/>' % (path, colour))
        y = top + 14 + i * 20
        out.append('<rect x="%d" y="%d" width="14" height="4" fill="%s"/>' % (left + width + 14, y - 6, colour))
        out.append(text_at(left + width + 34, y, name))
    return '<svg viewBox="0 0 720 %d" role="img"><title>%s</title>%s</svg>' % (
        top + height + 28, html.escape(caption), ''.join(out))


class Report:
    def __init__(self, title, path=None):
        self.title, self.path, self.parts = title, path, []

    def line(self, text):
        print(text, flush=True)
        self.parts.append('<p>%s</p>' % html.escape(text.strip()))

    def table(self, title, head, rows, bar=None, series=None):
        """Rows of text, the first column is the name. bar: the column to be drawn; series: (caption, unit, {name: values})."""
        title += ' (load average %.1f)' % os.getloadavg()[0]
        print('== ' + title)
        widths = [max(len(r[i]) for r in [head] + rows) for i in range(len(head))]
        for r in [head] + rows:
            print('  ' + r[0].ljust(widths[0]) + ''.join('  ' + c.rjust(w) for c, w in zip(r[1:], widths[1:])), flush=True)

        def cells(tag, row):
            return '<tr>%s</tr>' % ''.join('<%s>%s</%s>' % (tag, html.escape(c), tag) for c in row)
        self.parts.append('<h2>%s</h2>' % html.escape(title))
        self.parts.append('' if bar is None else bars(head, rows, bar))
        self.parts.append('' if series is None else curves(*series))
        self.parts.append('<table><thead>%s</thead><tbody>%s</tbody></table>'
                          % (cells('th', head), '\n'.join(cells('td', r) for r in rows)))
        self.write()

    def write(self):
        """After each table, so that a run that is broken off leaves what it had."""
        if not self.path:
            return
        about = '%s, %d processors, Linux %s' % (datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d %H:%M UTC'),
                                                 os.cpu_count(), platform.release())
        with open(self.path + '.new', 'w', encoding='utf-8') as f:
            f.write('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
                    'content="width=device-width"><title>%s</title><style>%s</style></head><body><h1>%s</h1>\n<p>%s. '
                    'Medians; machines are noisy, so look at the ratios: above 1 means that zl is better.</p>\n%s\n</body></html>\n'
                    % (html.escape(self.title), STYLE, html.escape(self.title), about, '\n'.join(self.parts)))
        os.replace(self.path + '.new', self.path)
