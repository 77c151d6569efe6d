// Every entry with declarations, by the package's name.
import * as core from "lastref";
import * as kinds from "lastref/kinds";
import * as leaks from "lastref/leaks";
import * as leases from "lastref/leases";
import * as testing from "lastref/testing";
import "lastref/register";
import "lastref/vitest";

export const entries = [core, kinds, leaks, leases, testing];
