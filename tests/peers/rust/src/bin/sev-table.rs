// SPDX-License-Identifier: MIT

//! A certificate table, and a report with it, as virtee's sev takes them:
//!
//!     sev-table TABLE           the chain of it: parsed, and each link verified
//!     sev-table TABLE REPORT    and the report is verified with it

use sev::certs::snp::{Chain, Verifiable};
use sev::firmware::guest::AttestationReport;
use sev::firmware::host::CertTableEntry;
use sev::parser::ByteParser;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let mut bytes = std::fs::read(&arguments[1])?;
    // It reads as far as the entries say.
    bytes.resize(16384, 0);
    let table = CertTableEntry::vec_bytes_to_cert_table(&mut bytes)?;
    for entry in &table {
        println!("{:?} {}", entry.cert_type, entry.data().len());
    }
    let chain = Chain::from_cert_table_der(table)?;
    (&chain).verify()?;
    println!("chain verified");
    if let Some(path) = arguments.get(2) {
        let report = AttestationReport::from_bytes(&std::fs::read(path)?)?;
        (&chain, &report).verify()?;
        println!("report verified");
    }
    Ok(())
}
