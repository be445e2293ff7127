"use strict";
// validatorUrl: null, or Swagger UI would ask a server on the internet about our specification.
SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null });
