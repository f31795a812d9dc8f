//! Who may read and write what is secret: the data directory, its databases and key, and every file that the configuration names.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{Finding, Patient};
use crate::output::shell_word;

/// Every file in its turn; one line where all are well.
pub(super) fn findings(patient: &Patient) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut looked = 0_u32;
    if let Some(directory) = &patient.deployment.directory {
        looked += 1;
        findings.extend(private(directory, "700"));
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() || path.file_name().is_some_and(|name| name == "carelink.toml") {
                continue;
            }
            looked += 1;
            findings.extend(private(&path, "600"));
        }
    }
    for path in secrets(patient) {
        looked += 1;
        findings.extend(private(&path, "600"));
    }
    if let Some(file) = &patient.configured.file {
        looked += 1;
        findings.extend(unwritable(file));
    }
    if findings.is_empty() && looked > 0 {
        findings.push(Finding::ok("files", format!("{looked} looked at; none that is secret can be read by others")));
    }
    findings
}

/// Files with secrets that are named in the configuration.
fn secrets(patient: &Patient) -> Vec<PathBuf> {
    let gateway = &patient.configured.gateway;
    let named = [&gateway.gateway.tls_key_file, &gateway.limits.redis_url_file];
    named.into_iter().flatten().cloned().collect()
}

/// What others may do with a file that is none of theirs.
fn private(path: &Path, mode: &str) -> Option<Finding> {
    let check = format!("file {}", path.display());
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None, // gone meanwhile
        Err(error) => return Some(Finding::warn(check, error.to_string(), "run this as whoever runs carelink")),
    };
    let others = meta.mode() & 0o077;
    let advice = format!("chmod {mode} {}", shell_word(&path.to_string_lossy()));
    match others {
        0 => None,
        others if others & 0o022 != 0 => Some(Finding::bad(check, format!("others may write it (mode {:o})", meta.mode() & 0o777), advice)),
        _ => Some(Finding::bad(check, format!("others may read it (mode {:o})", meta.mode() & 0o777), advice)),
    }
}

/// The configuration may be read, and not written, by others.
fn unwritable(path: &Path) -> Option<Finding> {
    let mode = fs::metadata(path).ok()?.mode();
    let others = mode & 0o022 != 0;
    others.then(|| {
        let says = format!("others may write it (mode {:o}), and with it what this machine does", mode & 0o777);
        Finding::bad(format!("file {}", path.display()), says, format!("chmod go-w {}", shell_word(&path.to_string_lossy())))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{super::State, *};

    #[test]
    fn a_file_that_others_may_read_or_write_is_bad_and_the_command_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a key");
        fs::write(&path, "x").unwrap();
        for (mode, words) in [(0o600, None), (0o640, Some("may read")), (0o602, Some("may write"))] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let found = private(&path, "600");
            assert_eq!(found.is_some(), words.is_some(), "{mode:o}");
            if let (Some(found), Some(words)) = (found, words) {
                assert_eq!(found.state, State::Bad);
                assert!(found.says.contains(words) && found.advice.starts_with("chmod 600 '"), "{found:?}");
            }
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
        assert!(unwritable(&path).unwrap().advice.starts_with("chmod go-w"));
    }
}
