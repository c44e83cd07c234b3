//! Colours, or none. Meaning never rests on them: every painted word reads the same without.
//!
//! Whether to paint is a value that travels with the text, not `console`'s switch for the whole process.

use console::Style;

/// Paints words if it is allowed to.
#[derive(Clone, Copy, Debug)]
pub struct Paint(pub bool);

macro_rules! colors {
    ($($(#[$doc:meta])* $name:ident $style:expr;)*) => {
        $($(#[$doc])* pub fn $name(self, text: &str) -> String { self.wrap($style, text) })*
    };
}

impl Paint {
    colors! {
        /// Names, headings.
        bold Style::new().bold();
        /// What matters less.
        dim Style::new().dim();
        /// Failures.
        red Style::new().red().bold();
        /// Success.
        green Style::new().green();
        /// Warnings.
        yellow Style::new().yellow().bold();
        /// Places and hints.
        cyan Style::new().cyan();
    }

    fn wrap(self, style: Style, text: &str) -> String {
        style.force_styling(self.0 && !text.is_empty()).apply_to(text).to_string()
    }

    /// The same name in the same colour, so that lines of one target are told from another's.
    pub fn name(self, text: &str) -> String {
        const COLORS: [fn(Style) -> Style; 5] =
            [Style::cyan, Style::magenta, Style::blue, Style::green, Style::yellow];
        let sum = text.bytes().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        self.wrap(COLORS[sum % COLORS.len()](Style::new()), text)
    }
}
