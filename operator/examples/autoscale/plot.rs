//! A plot as SVG: runners above, waiting jobs below.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 28.0;
const PANEL: f64 = 130.0;
const TOPS: [f64; 2] = [44.0, 214.0];
const HEIGHT: f64 = 376.0;

/// Points of a line at most: a page shows no more.
const POINTS: usize = 380;

/// A value per second, with its colour and label.
pub(crate) struct Line<'a> {
    pub(crate) label: &'a str,
    pub(crate) colour: &'a str,
    pub(crate) values: Vec<f64>,
}

/// Two panels over the same time.
pub(crate) fn svg(title: &str, panels: [(&str, &[Line<'_>]); 2]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <title>{title}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"16\" font-size=\"13\">{title}</text>\n"
    );
    let lines = panels.iter().flat_map(|(_, lines)| lines.iter());
    let seconds = lines.map(|line| line.values.len()).max().unwrap_or(1);
    for ((label, lines), top) in panels.into_iter().zip(TOPS) {
        panel(&mut svg, label, lines, top, seconds);
    }
    time_axis(&mut svg, seconds);
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, label: &str, lines: &[Line<'_>], top: f64, seconds: usize) {
    let values = lines.iter().flat_map(|line| line.values.iter().copied());
    let (step, highest) = scale(values.fold(1.0, f64::max));
    let bottom = top + PANEL;
    let mut tick = 0.0;
    while tick <= highest {
        let y = bottom - PANEL * tick / highest;
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{:.0}\" stroke=\"#ddd\"/><text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
            WIDTH - RIGHT,
            LEFT - 5.0,
            y + 4.0
        );
        tick += step;
    }
    let mut x = LEFT;
    for (text, colour) in
        std::iter::once((label, "#000")).chain(lines.iter().map(|line| (line.label, line.colour)))
    {
        let y = top - 8.0;
        let _ = writeln!(
            svg,
            "<text x=\"{x:.0}\" y=\"{y:.0}\" fill=\"{colour}\">{text}</text>"
        );
        x += 120.0;
    }
    for line in lines {
        let mut path = String::new();
        for (at, value) in thin(&line.values) {
            let x = LEFT + (WIDTH - LEFT - RIGHT) * fraction(at, seconds);
            let y = bottom - PANEL * value / highest;
            let verb = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{verb}{x:.1} {y:.1}");
        }
        let colour = line.colour;
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.4\"/>"
        );
    }
}

fn time_axis(svg: &mut String, seconds: usize) {
    let minutes = seconds / 60;
    let (step, unit, name) = if minutes > 300 {
        (180, 60, "h")
    } else {
        (15, 1, "min")
    };
    for minute in (0..=minutes).step_by(step) {
        let x = LEFT + (WIDTH - LEFT - RIGHT) * fraction(minute * 60, seconds);
        let number = minute / unit;
        let y = HEIGHT - 12.0;
        let _ = writeln!(
            svg,
            "<text x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"middle\">{number} {name}</text>"
        );
    }
}

/// The highest value of each of [`POINTS`] parts: a peak is not lost.
fn thin(values: &[f64]) -> impl Iterator<Item = (usize, f64)> {
    let size = values.len().div_ceil(POINTS).max(1);
    let parts = values.chunks(size).enumerate();
    parts.map(move |(part, values)| (part * size, values.iter().copied().fold(0.0, f64::max)))
}

/// Between two lines of the grid, and the uppermost: 1, 2 or 5 times a power of ten.
fn scale(highest: f64) -> (f64, f64) {
    let power = 10f64.powf((highest / 4.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|each| each * power);
    let fits = steps.into_iter().find(|step| step * 5.0 >= highest);
    let step = fits.unwrap_or(highest).max(1.0);
    (step, step * (highest / step).ceil())
}

fn fraction(part: usize, whole: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "seconds of a day")]
    let fraction = part as f64 / whole.max(1) as f64;
    fraction
}
