//! Claims about stacks and the console, and the faults that are already known.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::arch::Arch;
use crate::name::glob;

/// The key of a function that is given by the system call that it implements.
const SYSTEM_CALL: &str = "syscall";

/// The names that a kernel function may have, as a scenario gives them: `a|b`, because one compiler inlines
/// what another does not; or `syscall: ioctl`, for whatever an architecture calls the function of that system
/// call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionNames {
    /// All of them, with `|` in between.
    alternatives: String,
}

/// A claim about the stacks of one probe.
#[derive(Clone, Debug, Serialize)]
pub struct Claim {
    /// The claim's name, which known faults refer to; by default the probe's name.
    pub name: String,
    /// The name of the probe.
    pub probe: String,
    /// The functions that a stack must pass through, innermost first, with other frames allowed in between.
    /// `a|b` matches either function. A stack that passes through all of them is a *witness*.
    pub through: Vec<String>,
    /// The required number of witnesses; `None` means at least one.
    pub witness_count: Option<u64>,
    /// Whether every witness must be complete.
    pub complete: bool,
    /// Whether no witness may have a frame that the reference has not.
    pub exact: bool,
    /// Whether no witness may lack a frame of the reference.
    pub whole: bool,
}

/// A claim that the kernel does not report a certain problem on its console.
#[derive(Clone, Debug, Serialize)]
pub struct ConsoleClaim {
    /// The claim's name, which known faults refer to.
    pub name: String,
    /// A part of the report's first line.
    pub forbidden_text: String,
}

/// A known fault: a claim that is known to fail on some kernels, with the reason.
#[derive(Clone, Debug, Serialize)]
pub struct KnownFault {
    /// Globs over kernel names.
    pub kernels: Vec<String>,
    /// The claim's name.
    pub claim: String,
    /// The reason why the claim fails.
    pub because: String,
}

impl FunctionNames {
    /// The names of the function that implements a system call, on any architecture
    /// (`include/linux/syscalls.h`).
    fn of_system_call(call: &str) -> Self {
        let own = Arch::all().filter_map(|arch| arch.row().syscall_prefix);
        let names = own.chain(["__do_", "__se_", ""]).map(|prefix| format!("{prefix}sys_{call}"));
        Self { alternatives: names.collect::<Vec<_>>().join("|") }
    }
}

impl From<FunctionNames> for String {
    fn from(names: FunctionNames) -> Self {
        names.alternatives
    }
}

impl<'de> Deserialize<'de> for FunctionNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NamesOrSystemCall)
    }
}

impl JsonSchema for FunctionNames {
    fn schema_name() -> Cow<'static, str> {
        "FunctionNames".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A function: `a|b` is either, `syscall: ioctl` is whatever the architecture calls the function \
                of that system call.",
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": {
                        SYSTEM_CALL: { "description": "The name of a system call.", "type": "string" }
                    },
                    "required": [SYSTEM_CALL],
                    "additionalProperties": false
                }
            ]
        })
    }
}

/// Reads the names of a function, or its system call.
struct NamesOrSystemCall;

impl<'de> Visitor<'de> for NamesOrSystemCall {
    type Value = FunctionNames;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a function's name, or `{SYSTEM_CALL}` with the name of a system call")
    }

    fn visit_str<E>(self, names: &str) -> Result<FunctionNames, E> {
        Ok(FunctionNames { alternatives: names.into() })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FunctionNames, A::Error> {
        let mut call = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != SYSTEM_CALL {
                return Err(de::Error::unknown_field(&key, &[SYSTEM_CALL]));
            }
            call = Some(map.next_value::<String>()?);
        }
        let call = call.ok_or_else(|| de::Error::missing_field(SYSTEM_CALL))?;
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if call.is_empty() || !call.chars().all(fits) {
            let message =
                format!("`{}` cannot be a system call: letters, digits and `_` only", call.escape_debug());
            return Err(de::Error::custom(message));
        }
        Ok(FunctionNames::of_system_call(&call))
    }
}

impl KnownFault {
    /// Whether the fault is known on the kernel with this name.
    pub fn applies_to(&self, kernel: &str) -> bool {
        self.kernels.iter().any(|text| glob(text).is_ok_and(|glob| glob.compile_matcher().is_match(kernel)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(json: &str) -> Result<String, String> {
        serde_json::from_str::<FunctionNames>(json).map(Into::into).map_err(|error| error.to_string())
    }

    #[test]
    fn a_system_call_stands_for_what_each_architecture_calls_its_function() {
        let names = names(r#"{ "syscall": "ioctl" }"#).unwrap();
        let names: Vec<&str> = names.split('|').collect();
        for arch in Arch::all() {
            let name = format!("{}sys_ioctl", arch.row().syscall_prefix.unwrap_or_default());
            assert!(names.contains(&name.as_str()), "{arch}: {name} is not in {names:?}");
        }
        assert_eq!(names[names.len() - 3..], ["__do_sys_ioctl", "__se_sys_ioctl", "sys_ioctl"]);
    }

    #[test]
    fn names_are_taken_as_they_are_typed() {
        assert_eq!(names(r#""a|b.cold""#).unwrap(), "a|b.cold");
    }

    #[test]
    fn what_is_no_function_is_refused_with_what_it_can_be() {
        let refused = |json: &str| names(json).unwrap_err();
        assert!(refused(r#"{ "syscal": "ioctl" }"#).contains("unknown field `syscal`, expected `syscall`"));
        assert!(refused("{}").contains("missing field `syscall`"));
        assert!(refused(r#"{ "syscall": "a|b" }"#).contains("`a|b` cannot be a system call"));
        assert!(
            refused("7").contains("expected a function's name, or `syscall` with the name of a system call")
        );
    }
}
