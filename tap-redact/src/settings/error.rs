//! What can be wrong with settings. Every error names the setting.

/// Everything that is wrong with [`crate::Settings`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct SettingsErrors(pub Vec<SettingsError>);

/// One thing that is wrong: the setting, such as `rules[2].when`, and the problem, with its position where it is
/// within a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {problem}")]
pub struct SettingsError {
    pub setting: String,
    pub problem: String,
}
