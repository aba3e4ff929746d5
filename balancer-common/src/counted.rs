//! Lists of what may become of a packet, each entry with a counter of its own.

/// Declares such a list once: variant, number, metric label and explanation of each entry.
macro_rules! counted {
    (
        $(#[doc = $summary:literal])+
        $name:ident:
        $($(#[doc = $doc:literal])+ $variant:ident = $number:literal, $label:literal;)+
    ) => {
        $(#[doc = $summary])+
        ///
        /// The number is the index of the counter.
        #[repr(u32)]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name {
            $($(#[doc = $doc])+ $variant = $number,)+
        }

        impl $name {
            /// Every entry, in the order of the numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The entry with this number.
            #[inline(always)]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The name under which it is counted, in snake case.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)+
                }
            }

            /// What it means, for operators.
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}
pub(crate) use counted;

#[cfg(test)]
mod tests {
    use crate::{DropReason, Event, decapsulation::Fate};

    macro_rules! check {
        ($name:ident) => {
            for (index, entry) in $name::ALL.iter().enumerate() {
                assert_eq!(*entry as usize, index);
                assert_eq!($name::from_number(index as u32), Some(*entry));
                let label = entry.label();
                let is_metric_value = label
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
                assert!(is_metric_value, "{label}");
                let namesakes = $name::ALL.iter().filter(|other| other.label() == label).count();
                assert_eq!(namesakes, 1, "{label}");
                assert!(!entry.description().is_empty(), "{label}");
            }
            assert_eq!($name::from_number($name::ALL.len() as u32), None);
        };
    }

    #[test]
    fn numbers_are_indices_and_labels_are_unique_metric_values() {
        check!(DropReason);
        check!(Fate);
        check!(Event);
    }
}
