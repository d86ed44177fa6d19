//! What someone with the database's password can do: copy it, put an old copy back, flip a bit.

use std::collections::BTreeMap;

use store::{Row, Value, args};

use crate::World;

/// All rows of all tables.
#[derive(Clone, Debug)]
pub struct Copy(BTreeMap<String, Table>);

#[derive(Clone, Debug)]
struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Vec<Value>>,
}

fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

fn values(columns: &[&'static str], row: &Row) -> Vec<Value> {
    columns.iter().map(|column| row.value(column).expect("a column")).collect()
}

impl World {
    /// Copies every table, as a backup does.
    ///
    /// # Panics
    /// Where the database does not answer.
    pub async fn copy_database(&self) -> Copy {
        let db = self.attacker().await;
        let mut columns: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
        for (table, column) in db.columns().await.expect("a schema") {
            if !table.starts_with("sqlite_") && table != "store_migration" {
                columns.entry(table).or_default().push(leak(column));
            }
        }
        let mut copy = BTreeMap::new();
        let mut read = db.read().await.expect("a connection");
        for (table, columns) in columns {
            let text = leak(format!("SELECT {} FROM {table}", columns.join(", ")));
            let rows = read.rows(text, Vec::new()).await.expect("rows");
            let rows = rows.iter().map(|row| values(&columns, row)).collect();
            copy.insert(table, Table { columns, rows });
        }
        drop(read);
        db.close().await;
        Copy(copy)
    }

    /// Puts a copy back, as an attacker who restores an old backup does.
    ///
    /// # Panics
    /// Where the database does not answer.
    pub async fn put_back(&self, copy: Copy) {
        let db = self.attacker().await;
        let mut tx = db.begin().await.expect("a transaction");
        for (name, table) in copy.0 {
            tx.run(leak(format!("DELETE FROM {name}")), Vec::new()).await.expect("deleted");
            for row in table.rows {
                let mut bound = Vec::new();
                let places: Vec<String> = row
                    .into_iter()
                    .map(|value| {
                        if value == Value::NoBytes {
                            return "NULL".to_owned();
                        }
                        bound.push(value);
                        format!("${}", bound.len())
                    })
                    .collect();
                let columns = table.columns.join(", ");
                let text = format!("INSERT INTO {name} ({columns}) VALUES ({})", places.join(", "));
                tx.run(leak(text), bound).await.expect("inserted");
            }
        }
        tx.commit().await.expect("committed");
        db.close().await;
    }

    /// Flips bits of one byte of a column of the row with this `idx`. False where there is no row.
    ///
    /// # Panics
    /// Where the database does not answer.
    pub async fn flip(
        &self,
        table: &str,
        column: &'static str,
        index: i64,
        offset: i64,
        mask: u8,
    ) -> bool {
        let db = self.attacker().await;
        let mut tx = db.begin().await.expect("a transaction");
        let find = leak(format!("SELECT {column} FROM {table} WHERE idx = $1"));
        let rows = tx.rows(find, args![index]).await.expect("a row");
        let found = rows.first().and_then(|row| row.bytes(column).ok());
        let Some(mut bytes) = found.filter(|bytes| !bytes.is_empty()) else { return false };
        let offset = usize::try_from(offset).unwrap_or(0) % bytes.len();
        bytes[offset] ^= mask;
        let change = leak(format!("UPDATE {table} SET {column} = $1 WHERE idx = $2"));
        tx.run(change, args![bytes, index]).await.expect("changed");
        tx.commit().await.expect("committed");
        db.close().await;
        true
    }
}
