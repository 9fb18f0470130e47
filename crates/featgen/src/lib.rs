//! Computes technical indicators in parallel into Parquet.
