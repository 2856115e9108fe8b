//! Prints the CustomResourceDefinition of TapPolicies; `cargo xtask crd` writes it to deploy/crds.

#![expect(clippy::print_stdout, reason = "that is what it is for")]

fn main() -> Result<(), serde_yaml_ng::Error> {
    print!("{}", tap_policy::crd_yaml()?);
    Ok(())
}
